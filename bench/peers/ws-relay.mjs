// Minimum that a bridge in Node needs for a call: one socket of `ws` on each side, TLS to the stand-in backend, and
// each message's text is passed on. Audio is not decoded, judged, paced or stored; mu-law is passed on unchanged.
import { WebSocket, WebSocketServer } from 'ws'
import { options, ready } from './peer.mjs'

const FORMAT = { format: { type: 'audio/pcmu' } }
const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'audio.drachtio.org' })
wss.on('connection', (carrier) => {
  let streamSid = ''
  const model = new WebSocket(options.backendUrl, { perMessageDeflate: false })
  carrier.on('message', (text) => {
    const message = JSON.parse(text.toString())
    if (message.event === 'start') streamSid = message.streamSid
    else if (message.event === 'media' && model.readyState === WebSocket.OPEN)
      model.send(JSON.stringify({ type: 'input_audio_buffer.append', audio: message.media.payload }))
  })
  carrier.on('close', () => model.close())
  model.on('open', () =>
    model.send(
      JSON.stringify({
        type: 'session.update',
        session: { type: 'realtime', audio: { input: FORMAT, output: FORMAT } },
      }),
    ),
  )
  model.on('message', (text) => {
    const event = JSON.parse(text.toString())
    if (event.type === 'response.output_audio.delta')
      carrier.send(JSON.stringify({ event: 'media', streamSid, media: { payload: event.delta } }))
  })
})
wss.on('listening', () => ready(wss.address().port))
