// The sketch that the carrier's articles print, on the `ws` package, with the model replaced by an echo.
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
