// node_server.js PORT FILE: an HTTP server that answers 200 and appends "METHOD target" to FILE for
// each request, for what it refuses the start of it.
'use strict';
const fs = require('fs');
const http = require('http');

const [port, file] = process.argv.slice(2);
const note = (line) => fs.appendFileSync(file, line + '\n');

const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    note(`${request.method} ${request.url}`);
    response.end('node\n');
  });
});
server.on('connect', (request, socket) => {
  note(`CONNECT ${request.url}`);
  socket.end('HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
});
server.on('clientError', (error, socket) => {
  if (error.rawPacket) {
    note(error.rawPacket.toString('latin1').split('\r\n')[0]);
  }
  if (socket.writable) {
    socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  }
});
server.listen(Number(port), '127.0.0.1');
