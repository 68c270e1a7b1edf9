import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadAgents } from '../../src/agents/file/loader.js'
import { allCallsOn } from '../../src/backends/split.js'
import type { CallEnvironment } from '../../src/carrier/call-options.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { TextGateway, openTextMedia } from '../../src/simulator/scenarios/text-gateway.js'
import { TextVoices } from '../../src/simulator/scenarios/text-speech.js'
import type { SimulatedClock } from '../../src/simulator/simulated-clock.js'

/** Services of the agent's backend. They accept any key. */
export interface ServiceUrls {
  readonly backend: 'cascade' | 'openai'
  readonly env: Readonly<Record<string, string>>
}

/** Calls in the gateway's own code, on one thread with one clock. */
export interface Gateways {
  /** Gateway of one call. */
  open(): { readonly environment: CallEnvironment; close(): Promise<void> }
  close(): Promise<void>
}

const AGENT = `version: 1
name: bench
instructions: Answer.
language: en
silence: { afterMs: 60000 }
fillers: { phrases: [] }
`
const BACKENDS = {
  cascade: `backend: cascade
backends: { cascade: { stt: deepgram, llm: chat, tts: elevenlabs, languages: [en, sw] } }
`,
  openai: `backend: openai
backends: { openai: { turns: { by: gateway } } }
`,
} as const

/**
 * Gateways for calls. Webhooks, registry, session, voice detection, backend and playout are the production code, with
 * an agent's defaults. Threads and the carrier's sockets are left out. The backend uses sockets to its services, so the
 * clock runs in real time.
 */
export async function openGateways({ backend, env }: ServiceUrls, clock: SimulatedClock): Promise<Gateways> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-bench-'))
  await writeFile(join(folder, 'bench.yaml'), `${AGENT}${BACKENDS[backend]}`)
  const { agents } = await loadAgents(folder, env).finally(() => rm(folder, { recursive: true, force: true }))
  const definition = agents.get('bench')
  if (definition === undefined) throw new Error('the agent of the bench was not loaded')
  const hosted = new Map([['bench', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]])
  const media = await openTextMedia(backendSettings(loadConfig(env, null)), env, 'recorded')
  const options = { agents: hosted, businesses: new Map(), env, placed: null, settle: [], slow: [], earlier: null }
  return {
    open: () => {
      const gateway = new TextGateway(media, new TextVoices(1, 1), { ...options, clock, startedAtWallMs: Date.now() })
      return { environment: gateway, close: () => gateway.close() }
    },
    close: () => media.close(),
  }
}
