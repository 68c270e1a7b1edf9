// Echo in the way of most telephony samples for Node: fastify with @fastify/websocket.
import Fastify from 'fastify'
import websocket from '@fastify/websocket'
import { ready } from './peer.mjs'

const app = Fastify()
await app.register(websocket, { options: { handleProtocols: () => 'audio.drachtio.org' } })
app.get('/audio', { websocket: true }, (socket) => {
  socket.on('message', (data, isBinary) => {
    if (isBinary) socket.send(data, { binary: true })
  })
})
await app.listen({ host: '127.0.0.1', port: 0 })
ready(app.server.address().port)
