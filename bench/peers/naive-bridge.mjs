// A simple bridge, as a first version is usually written: `ws` on both sides, one libsamplerate instance per stream and
// direction, and JSON.stringify for each 20 ms frame. Its resampling quality equals the gateway's (SINC_MEDIUM).
import { WebSocket, WebSocketServer } from 'ws'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import { options, ready } from './peer.mjs'

const { create, ConverterType } = libsamplerate
const converterType = ConverterType.SRC_SINC_MEDIUM_QUALITY

/** Converts s16le bytes to s16le bytes at the other rate. */
function convert(converter, bytes) {
  const samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  const output = converter.full(Float32Array.from(samples, (sample) => sample / 32768))
  return Buffer.from(
    Int16Array.from(output, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768)))).buffer,
  )
}

const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'audio.drachtio.org' })
wss.on('connection', (ws) => {
  const waiting = []
  let toModel = null
  let fromModel = null
  let model = null
  ws.on('message', (data, isBinary) => {
    if (!isBinary) return
    if (model === null) waiting.push(data)
    else
      model.send(
        JSON.stringify({ type: 'input_audio_buffer.append', audio: convert(toModel, data).toString('base64') }),
      )
  })
  ws.on('close', () => model?.close())
  const connecting = new WebSocket(options.backendUrl)
  connecting.on('message', (text) => {
    const event = JSON.parse(text.toString())
    if (event.type === 'response.output_audio.delta') ws.send(convert(fromModel, Buffer.from(event.delta, 'base64')))
  })
  connecting.on('open', async () => {
    connecting.send(
      JSON.stringify({
        type: 'session.update',
        session: { type: 'realtime', instructions: 'Say back what you hear.' },
      }),
    )
    toModel = await create(1, 16000, 24000, { converterType })
    fromModel = await create(1, 24000, 16000, { converterType })
    model = connecting
    for (const data of waiting.splice(0)) ws.emit('message', data, true)
  })
})
wss.on('listening', () => ready(wss.address().port))
