import type { Backend, BackendSink } from '../../src/backends/backend.js'
import type { BackendContext } from '../../src/backends/load-backend.js'
import { OpenAiRealtimeBackend } from '../../src/backends/openai-realtime/openai-backend.js'
import { optionsFromEnvironment } from '../kit/process.js'
import type { ServerOptions } from '../protocol.js'
import { answerProbe } from './isolate-probe.js'

answerProbe()

// Workers inherit the environment of their process.
const { backendUrl, messageMs } = optionsFromEnvironment<ServerOptions>('BENCH_SERVER')
if (backendUrl === null) throw new Error('levels from L2 on need the stand-in backend')

/** Rate that L2 has always had, for comparison over time; L2-prod has what the gateway takes. */
const L2_MESSAGE_MS = 60

/** The gateway's own OpenAI client, with nothing changed but where it connects to and the length of its messages. */
export function createBackend(sink: BackendSink, { clock }: BackendContext): Backend {
  return new OpenAiRealtimeBackend(sink, {
    apiKey: null,
    model: 'stand-in',
    baseUrl: backendUrl as string,
    nowMs: clock,
    messageMs: messageMs ?? L2_MESSAGE_MS,
  })
}
