// OpenAI's agents SDK with its Twilio transport, composed as in its documentation, connected to the stand-in backend.
// It does less work than the gateway at L2: 8 kHz mu-law in both directions, no resampling, no voice detection, no
// pacing.
import { WebSocketServer } from 'ws'
import { RealtimeAgent, RealtimeSession } from '@openai/agents/realtime'
import { TwilioRealtimeTransportLayer } from '@openai/agents-extensions'
import { options, ready } from './peer.mjs'

const agent = new RealtimeAgent({ name: 'bench', instructions: 'Say back what you hear.' })
const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'audio.drachtio.org' })
wss.on('connection', (twilioWebSocket) => {
  const transport = new TwilioRealtimeTransportLayer({ twilioWebSocket })
  // The session's format overrides the default of the transport, so the format is set here.
  const audio = { input: { format: 'g711_ulaw' }, output: { format: 'g711_ulaw' } }
  const session = new RealtimeSession(agent, { transport, tracingDisabled: true, config: { audio } })
  session.on('error', (error) => process.stderr.write(`session error: ${JSON.stringify(error).slice(0, 300)}\n`))
  session.connect({ apiKey: 'stand-in', url: options.backendUrl }).catch((error) => {
    process.stderr.write(`session did not connect: ${error?.message}\n`)
    twilioWebSocket.close()
  })
})
wss.on('listening', () => ready(wss.address().port))
