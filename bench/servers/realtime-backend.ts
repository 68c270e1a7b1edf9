import type { Backend, BackendSink } from '../../src/backends/backend.js'
import type { BackendContext } from '../../src/backends/backend-context.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { optionsFromEnvironment } from '../kit/process.js'
import type { ServerOptions } from '../protocol.js'
import { answerProbe } from './isolate-probe.js'

answerProbe()

// Workers inherit the environment of their process.
const { backendUrl, messageMs } = optionsFromEnvironment<ServerOptions>('BENCH_SERVER')
if (backendUrl === null) throw new Error('levels from L2 on need the stand-in backend')

/**
 * Length in ms of messages at L2. It never changes, so that results can be compared over time. L2-prod uses the
 * gateway's own value.
 */
const L2_MESSAGE_MS = 60

/** The gateway's own OpenAI client. Only its URL and the length of its messages are different. */
export function createBackend(sink: BackendSink, { clock }: BackendContext): Backend {
  return new OpenAiRealtimeBackend(sink, {
    apiKey: null,
    model: 'stand-in',
    baseUrl: backendUrl as string,
    nowMs: clock,
    messageMs: messageMs ?? L2_MESSAGE_MS,
  })
}
