// node_http2_server.js PORT: HTTP/2 without TLS. /sum answers with the SHA-256 of the body, /hints with
// an interim response and trailers, /reset and /half break off. SIGTERM: finishes what it has, ends.
'use strict';
const crypto = require('crypto');
const http2 = require('http2');

const sessions = new Set();
const server = http2.createServer();
server.on('session', (session) => {
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
});
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  switch (headers[':path']) {
    case '/hints':
      stream.additionalHeaders({':status': 103, link: '</style.css>; rel=preload'});
      stream.on('wantTrailers', () => stream.sendTrailers({'x-trailer': 'yes'}));
      stream.respond({':status': 200}, {waitForTrailers: true});
      stream.end('body');
      return;
    case '/reset':
      stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
      return;
    case '/half':
      stream.respond({':status': 200});
      stream.write('half', () => stream.destroy(new Error('enough'))); // close() would end it first
      return;
    default: {
      const hash = crypto.createHash('sha256');
      stream.on('data', (data) => hash.update(data));
      stream.on('end', () => {
        stream.respond({':status': 200});
        stream.end(hash.digest('hex'));
      });
    }
  }
});
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  sessions.forEach((session) => session.close());
});
server.listen(Number(process.argv[2]), '127.0.0.1');
