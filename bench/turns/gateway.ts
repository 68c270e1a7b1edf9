import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGateway } from '../../src/gateway/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'
import { endWithParent, optionsFromEnvironment, tellParent } from '../kit/process.js'

/** Options of the measured gateway. They are in its environment as `BENCH_TURNS`. */
export interface TurnsGatewayOptions {
  readonly serviceUrl: string
  readonly calls: number
  readonly turns: 'gateway' | 'server_vad'
  /** Null for the gateway's own value. */
  readonly messageMs: number | null
  readonly streamSilence: boolean
  readonly endOfSpeechMs: number
  /** Services of a cascade as the backend; null for the realtime backend at `serviceUrl`. */
  readonly cascade: CascadeUrls | null
}

/** URLs of the services. `ahead`: true if turns end by their words, and the model is asked before that. */
export interface CascadeUrls {
  readonly stt: string
  readonly llm: string
  readonly tts: string
  readonly ahead: boolean
}

export type FromTurnsGateway = { readonly type: 'ready'; readonly port: number }
export type ToTurnsGateway = { readonly type: 'stop' }

/** The gateway with the composition of `mkondo serve`, and one agent on the stand-in with a known delay. */
const options = optionsFromEnvironment<TurnsGatewayOptions>('BENCH_TURNS')
endWithParent()
const folder = await mkdtemp(join(tmpdir(), 'mkondo-bench-'))
const { cascade, endOfSpeechMs } = options
const backend =
  cascade === null
    ? `  openai: { ${options.messageMs === null ? '' : `messageMs: ${options.messageMs}, `}streamSilence: ${options.streamSilence}, turns: { by: ${options.turns} } }`
    : `  cascade: { stt: deepgram, llm: chat, tts: elevenlabs, languages: [en], speculate: ${cascade.ahead} }`
const turn = cascade?.ahead === true ? '' : `turn: { endOfSpeechMs: ${endOfSpeechMs}, adaptive: false, words: null }\n`
await writeFile(
  join(folder, 'bench.yaml'),
  `version: 1
name: bench
backend: ${cascade === null ? 'openai' : 'cascade'}
instructions: Answer with a tone.
${turn}silence: { afterMs: 60000, prompts: [] }
fillers: { phrases: [] }
backends:
${backend}
`,
)
const env = {
  OPENAI_API_KEY: 'key-of-the-bench',
  OPENAI_BASE_URL: options.serviceUrl,
  ...(cascade === null
    ? {}
    : {
        DEEPGRAM_API_KEY: 'key-of-the-bench',
        DEEPGRAM_STT_URL: cascade.stt,
        LLM_URL: cascade.llm,
        LLM_API_KEY: 'key-of-the-bench',
        LLM_MODEL: 'known',
        ELEVENLABS_API_KEY: 'key-of-the-bench',
        ELEVENLABS_TTS_URL: cascade.tts,
      }),
  MEDIA_WORKERS: '1',
  // All callers have the same number.
  CALLER_CALLS: '1000',
  CALLER_CALLS_PER_MINUTE: '1000',
}
const gateway = await startGateway({
  config: {
    ...loadConfig(env, null),
    agentsDir: folder,
    dataDir: folder,
    port: 0,
    opsPort: 0,
    host: '127.0.0.1',
    maxCalls: options.calls,
  },
  env: {},
  log: createLog({ level: 'error' }),
})
process.on('message', () => {
  void gateway
    .stop(0)
    .then(() => rm(folder, { recursive: true, force: true }))
    .finally(() => process.exit(0))
})
tellParent({ type: 'ready', port: gateway.publicPort } satisfies FromTurnsGateway)
