// The service of grpc_app.py, without generated code: messages are bytes.
'use strict';
const grpc = require('@grpc/grpc-js');

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/lintel.Test/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

module.exports = {
  grpc,
  service: {
    say: method('Say', false, false),
    count: method('Count', false, true),
    join: method('Join', true, false),
    chat: method('Chat', true, true),
  },
  options: {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.enable_retries': 0,
  },
};
