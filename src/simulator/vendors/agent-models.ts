import type { AgentDefinition } from '../../agents/file/definition.js'
import { loadAgents } from '../../agents/file/loader.js'
import type { Environment } from '../../agents/file/template.js'
import { offlineSchema, type OfflineDialogue } from '../../agents/offline/offline.js'
import { textIn } from '../../call/spoken/localized-text.js'
import { GatewayError } from '../../core/errors.js'
import { loadFlite } from '../../speech/flite.js'
import { SpeechClient } from '../../speech/speech-client.js'
import { SpeechPool } from '../../speech/speech-pool.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import { CascadeModels } from './cascade-models.js'
import { DialogueModel, type Followed } from './dialogue-model.js'
import type { DoubleModel } from './double.js'
import { SharedListening } from './shared-listening.js'
import type { Speaker } from './tone-speaker.js'

interface AgentModelsOptions {
  readonly agentsDir: string
  /** Names of the agents that the double plays; empty for all agents of the folder that have an `offline:` dialogue. */
  readonly names: readonly string[]
  readonly env: Environment
  /** Wait in ms before each answer. */
  readonly thinkMs: number
}

/** The embedded voice, for doubles that make their sound in this process. */
export async function embeddedSpeaker(): Promise<Speaker> {
  const flite = await loadFlite()
  return (text) => flite.speak(spokenForm(text), 'slt')
}

interface Speaking {
  readonly agent: AgentDefinition
  readonly dialogue: OfflineDialogue
}

/**
 * The models of a double's sessions, one model for each session. Each model answers as an agent with an `offline:`
 * dialogue.
 */
export class AgentModels {
  /** Names of the agents that the double plays. */
  readonly names: readonly string[]
  readonly #agents: readonly Speaking[]
  readonly #pool: SpeechPool
  readonly #thinkMs: number
  readonly #shared = new SharedListening()

  private constructor(agents: readonly Speaking[], pool: SpeechPool, thinkMs: number) {
    this.names = agents.map(({ agent }) => agent.name)
    this.#agents = agents
    this.#pool = pool
    this.#thinkMs = thinkMs
  }

  /** @throws GatewayError AGENT_INVALID or AGENT_UNKNOWN */
  static async load(options: AgentModelsOptions): Promise<AgentModels> {
    const agents = await speakingAgents(options)
    const pool = new SpeechPool()
    await pool.ready()
    return new AgentModels(agents, pool, options.thinkMs)
  }

  /**
   * @returns the model of a session. The session's instructions identify the agent; otherwise the first agent is used
   */
  model(instructions: string): DoubleModel {
    return new DialogueModel({
      ...this.#followed(instructions),
      speech: new SpeechClient({ port: this.#pool.openSession() }),
      thinkMs: this.#thinkMs,
    })
  }

  /** Returns the models for the three services of a cascade. */
  cascade(): CascadeModels {
    return new CascadeModels({
      find: (instructions) => this.#followed(instructions),
      dialogues: this.#agents.map(({ dialogue }) => dialogue),
      openSpeech: () => new SpeechClient({ port: this.#pool.openSession() }),
      shared: this.#shared,
    })
  }

  #followed(instructions: string): Followed {
    const [first, ...others] = this.#agents
    const { agent, dialogue } = (others.find((one) => isOf(one.agent, instructions)) ?? first) as Speaking
    const { greeting, languages } = agent
    return { dialogue, greeting: textIn(greeting ?? '', languages[0] ?? ''), languages }
  }

  async close(): Promise<void> {
    this.#shared.close()
    await this.#pool.close()
  }
}

function isOf(agent: AgentDefinition, instructions: string): boolean {
  return instructions.includes(agent.instructions.trim())
}

async function speakingAgents({ agentsDir, names, env }: AgentModelsOptions): Promise<readonly Speaking[]> {
  // The tools run in the gateway, so the addresses in their definitions are not needed here.
  const anyValue = new Proxy(env, {
    get: (known, name: string) => known[name] ?? 'http://127.0.0.1',
    getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true }),
  })
  const { agents } = await loadAgents(agentsDir, anyValue)
  const unknown = names.find((name) => !agents.has(name))
  if (unknown !== undefined) {
    throw new GatewayError(
      'AGENT_UNKNOWN',
      `there is no agent ${unknown} in ${agentsDir}; allowed: ${[...agents.keys()].join(', ')}`,
    )
  }
  const wanted = [...agents.values()].filter(({ name }) => names.length === 0 || names.includes(name))
  const speaking = wanted.flatMap((agent) => {
    const offline = offlineSchema.safeParse(agent.offline)
    return offline.success ? [{ agent, dialogue: offline.data }] : []
  })
  const silent = names.find((name) => !speaking.some(({ agent }) => agent.name === name))
  if (silent !== undefined || speaking.length === 0) {
    throw new GatewayError(
      'AGENT_INVALID',
      `${silent === undefined ? `no agent in ${agentsDir}` : `agent ${silent}`} has an offline: block, which a double answers by (docs/OFFLINE-AGENT.md)`,
    )
  }
  return speaking
}
