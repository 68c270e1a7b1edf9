// Upper limit: only uWebSockets.js. Each frame is sent back in the callback that received it.
import { App, us_socket_local_port } from 'uWebSockets.js'
import { ready } from './peer.mjs'

App()
  .ws('/*', {
    maxPayloadLength: 64 * 1024,
    maxBackpressure: 256 * 1024,
    idleTimeout: 60,
    upgrade: (res, req, context) => {
      res.upgrade({}, req.getHeader('sec-websocket-key'), 'audio.drachtio.org', '', context)
    },
    message: (ws, message, isBinary) => {
      ws.send(message, isBinary)
    },
  })
  .listen('127.0.0.1', 0, (listener) => ready(us_socket_local_port(listener)))
