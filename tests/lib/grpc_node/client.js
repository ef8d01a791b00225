// client.js PORT HOST: one call after the other; a line of JSON for what came of each.
'use strict';
const {grpc, service, options} = require('./service.js');

const [port, host] = process.argv.slice(2);
const Client = grpc.makeGenericClientConstructor(service, 'Test');
const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(),
  {...options, 'grpc.default_authority': host});
const until = (ms) => ({deadline: Date.now() + ms});
const tell = (name, facts) => process.stdout.write(JSON.stringify({name, ...facts}) + '\n');

const say = (text, metadata, ms = 20000) => new Promise((resolve) => {
  const facts = {};
  const call = client.say(Buffer.from(text), metadata, until(ms), (error, answer) => {
    facts.code = error ? error.code : 0;
    facts.details = error ? error.details : '';
    facts.answer = error ? null : answer.toString('latin1');
    call.on('status', (status) => {
      facts.trailer = status.metadata.get('x-trailer')[0];
      const bytes = status.metadata.get('x-trailer-bin')[0];
      facts.bytes = bytes && [...bytes];
      resolve(facts);
    });
  });
});

const read = (call) => new Promise((resolve) => {
  const sizes = [];
  call.on('data', (piece) => sizes.push(piece.length));
  call.on('error', () => {});
  call.on('status', (status) => resolve({code: status.code, sizes}));
});

async function main() {
  const metadata = new grpc.Metadata();
  metadata.set('x-mine-bin', Buffer.from([0, 255, 128]));
  tell('say', await say('hello', metadata));
  tell('fail', await say('fail NOT_FOUND détail 100%', new grpc.Metadata()));
  tell('late', await say('sleep 10', new grpc.Metadata(), 300));
  tell('count', await read(client.count(Buffer.from('5 10'), until(20000))));
  tell('large', await read(client.count(Buffer.from('2 4500000'), until(20000))));
  tell('join', await new Promise((resolve) => {
    const call = client.join(until(20000), (error, answer) =>
      resolve({code: error ? error.code : 0, n: answer && answer.length}));
    for (let i = 0; i < 50; i++) {
      call.write(Buffer.alloc(100000));
    }
    call.end();
  }));
  const chat = client.chat(until(20000));
  const over = read(chat);
  for (let i = 0; i < 5; i++) {
    const answer = new Promise((resolve) => chat.once('data', resolve));
    chat.write(Buffer.from(String(i)));
    await answer;
  }
  chat.write(Buffer.from('end')); // the server ends; our half is still open
  tell('chat', await over);
  const count = client.count(Buffer.from('100000 100 0.01'), until(20000));
  const cancelled = read(count);
  count.once('data', () => count.cancel());
  tell('cancel', {code: (await cancelled).code});
  const all = await Promise.all([...Array(200).keys()].map((i) => say(String(i), new grpc.Metadata())));
  tell('many', {good: all.filter((facts, i) => facts.code === 0 && facts.answer === String(i)).length});
  client.close();
}

main();
