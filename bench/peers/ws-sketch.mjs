// The example program from the carrier's articles, on the `ws` package, with an echo in place of the model.
import { WebSocketServer } from 'ws'
import { ready } from './peer.mjs'

const wss = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  handleProtocols: (protocols) => (protocols.has('audio.drachtio.org') ? 'audio.drachtio.org' : false),
})
wss.on('connection', (ws) => {
  const llm = { pushAudio: (pcm) => ws.send(pcm, { binary: true }) }
  ws.on('message', (data, isBinary) => {
    if (isBinary) llm.pushAudio(data)
  })
})
wss.on('listening', () => ready(wss.address().port))
