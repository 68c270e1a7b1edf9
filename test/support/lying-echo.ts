import { App, us_socket_local_port } from 'uWebSockets.js'
import { serve } from '../../bench/servers/serve.js'

/** Server of an echo that drops every fiftieth frame of a call. The bench must detect this. */
App()
  .ws<{ frames: number }>('/*', {
    upgrade: (res, req, context) => {
      res.upgrade({ frames: 0 }, req.getHeader('sec-websocket-key'), 'audio.drachtio.org', '', context)
    },
    message: (ws, message, isBinary) => {
      if (++ws.getUserData().frames % 50 !== 0) ws.send(message, isBinary)
    },
  })
  .listen('127.0.0.1', 0, (listener) => {
    serve(us_socket_local_port(listener), () => Promise.resolve())
  })
