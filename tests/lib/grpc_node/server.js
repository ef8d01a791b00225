// server.js PORT NAME: serves until SIGTERM, then finishes what it has. Says "cancelled" for each call that
// its client gave up.
'use strict';
const {grpc, service, options} = require('./service.js');

const note = (call) => call.on('cancelled', () => process.stdout.write('cancelled\n'));
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = new grpc.Server(options);
server.addService(service, {
  say(call, callback) {
    note(call);
    const text = call.request.toString();
    const trailers = new grpc.Metadata();
    trailers.set('x-trailer', 't');
    const bytes = call.metadata.get('x-mine-bin')[0];
    if (bytes !== undefined) {
      trailers.set('x-trailer-bin', bytes);
    }
    const first = new grpc.Metadata();
    first.set('x-name', process.argv[3]);
    call.sendMetadata(first);
    if (text.startsWith('fail ')) {
      const [, code, details] = /^fail (\S+) (.*)$/s.exec(text);
      callback({code: grpc.status[code], details});
    } else if (text.startsWith('sleep ')) {
      setTimeout(() => callback(null, call.request, trailers), 1000 * Number(text.slice(6)));
    } else {
      callback(null, call.request, trailers);
    }
  },
  async count(call) {
    note(call);
    const [n, size, pause] = [...call.request.toString().split(' '), '1', '0'];
    for (let i = 0; i < Number(n) && !call.cancelled; i++) {
      call.write(Buffer.from(String(i).padEnd(Number(size), '.')));
      if (Number(pause) > 0) {
        await wait(1000 * Number(pause));
      }
    }
    call.end();
  },
  join(call, callback) {
    const pieces = [];
    call.on('data', (piece) => pieces.push(piece));
    call.on('end', () => callback(null, Buffer.concat(pieces)));
  },
  chat(call) {
    note(call);
    call.on('data', (piece) => {
      if (piece.toString() === 'end') {
        call.end();
      } else {
        call.write(piece);
      }
    });
    call.on('end', () => call.end());
  },
});
server.bindAsync(`127.0.0.1:${process.argv[2]}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) {
    throw error;
  }
  process.stdout.write('up\n');
});
process.on('SIGTERM', () => server.tryShutdown(() => process.exit(0)));
