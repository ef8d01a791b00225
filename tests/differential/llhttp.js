// What Node's request parser (llhttp, strict) makes of bytes: input and output as of parse_request.c.
'use strict';
const fs = require('fs');
const { METHODS } = require('http');
const { HTTPParser } = require('_http_common');

const methodNames = new Map(); // llhttp's number -> name

function parse(bytes) {
  const found = { requests: [], end: 'end', fault: '' };
  let last = null;
  let isOver = false;
  const fields = [];
  let target = '';
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {});
  parser[HTTPParser.kOnHeaders] = (list, url) => { // the first ones of many
    fields.push(...list);
    target += url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (major, minor, list, method, url, status, message,
                                           upgrade, keep) => {
    if (isOver) {
      return 0;
    }
    fields.push(...(list || []));
    last = { major, minor, keep, upgrade, method, target: url === undefined ? target : url,
             fields: fields.splice(0), body: '', whole: false };
    target = '';
    found.requests.push(last);
    return 0;
  };
  parser[HTTPParser.kOnBody] = (data) => {
    if (!isOver) {
      last.body += data.toString('hex');
    }
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    if (!isOver) {
      last.whole = true;
      isOver = !last.keep || last.upgrade;
    }
    fields.length = 0; // trailers
    target = '';
  };
  const result = parser.execute(bytes);
  if (isOver) {
    found.end = 'close';
  } else if (result instanceof Error) {
    found.end = 'reject';
    found.fault = `${result.code} ${result.reason || ''}`;
  } else if (bytes.length > 0) {
    const error = parser.finish();
    found.end = error instanceof Error || (last && !last.whole) ? 'more' : 'end';
  }
  return found;
}

const hex = (text) => Buffer.from(text, 'latin1').toString('hex');

function print(found) {
  for (const request of found.requests) {
    request.method = hex(methodNames.get(request.method) || String(request.method));
    request.target = hex(request.target);
    const list = [];
    for (let i = 0; i < request.fields.length; i += 2) {
      list.push({ name: hex(request.fields[i]), value: hex(request.fields[i + 1]) });
    }
    request.fields = list;
  }
  return JSON.stringify(found);
}

for (const name of METHODS) {
  const [request] = parse(Buffer.from(`${name} ${name === 'CONNECT' ? 'a:1' : '/'} HTTP/1.1\r\n\r\n`))
    .requests;
  methodNames.set(request.method, name);
}

const input = fs.readFileSync(0);
const lines = [];
for (let at = 0; at < input.length;) {
  const n = input.readUInt32LE(at);
  lines.push(print(parse(input.subarray(at + 4, at + 4 + n))));
  at += 4 + n;
}
fs.writeSync(1, lines.join('\n') + '\n');
