import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGateway } from '../../src/gateway/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'
import { endWithParent, optionsFromEnvironment, tellParent } from '../kit/process.js'

/** Options of the gateway under test, in its environment as `BENCH_TURNS`. */
export interface TurnsGatewayOptions {
  readonly serviceUrl: string
  readonly calls: number
  readonly turns: 'gateway' | 'server_vad'
  /** Null for what the gateway takes. */
  readonly messageMs: number | null
  readonly streamSilence: boolean
  readonly endOfSpeechMs: number
}

export type FromTurnsGateway = { readonly type: 'ready'; readonly port: number }
export type ToTurnsGateway = { readonly type: 'stop' }

/** The gateway as `mkondo serve` composes it, with one agent on the stand-in of known delay. */
const options = optionsFromEnvironment<TurnsGatewayOptions>('BENCH_TURNS')
endWithParent()
const folder = await mkdtemp(join(tmpdir(), 'mkondo-bench-'))
await writeFile(
  join(folder, 'bench.yaml'),
  `version: 1
name: bench
backend: openai
instructions: Answer with a tone.
turn: { endOfSpeechMs: ${options.endOfSpeechMs}, adaptive: false }
silence: { afterMs: 60000, prompts: [] }
fillers: { phrases: [] }
backends:
  openai: { ${options.messageMs === null ? '' : `messageMs: ${options.messageMs}, `}streamSilence: ${options.streamSilence}, turns: { by: ${options.turns} } }
`,
)
const env = {
  OPENAI_API_KEY: 'key-of-the-bench',
  OPENAI_BASE_URL: options.serviceUrl,
  MEDIA_WORKERS: '1',
  // All callers have one number.
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
