import type { Backend, BackendSession } from '../../backends/backend.js'
import type { CallSession } from '../../call/call-session.js'
import type { CallStart } from '../shared/call-messages.js'
import { instructionsOf, stageVoices, toolSpecs } from './call-setup.js'
import type { CallToolRunner } from './call-tools.js'
import { wallMsOf } from './worker-context.js'
import type { WorkerContext } from './worker-context.js'

interface Briefed {
  readonly start: CallStart
  readonly context: Pick<WorkerContext, 'wallClock'>
  readonly session: CallSession
  readonly backend: Backend
  readonly tools: Pick<CallToolRunner, 'serverTools'>
}

/** Present instructions and tools of a call's model. */
export class ModelBriefing {
  /** False after the model has called too many tools. The model then gets no tools. */
  toolsOffered = true
  readonly #of: Briefed

  constructor(of: Briefed) {
    this.#of = of
  }

  /** The instructions of a session that begins now. */
  get instructions(): string {
    const { start, context, session } = this.#of
    return instructionsOf(start, wallMsOf(context), session)
  }

  /** Instructions, tools and voices for the model. */
  get told(): Pick<BackendSession, 'instructions' | 'tools' | 'voices'> {
    const { start, backend, tools: runner, session } = this.#of
    const { changesTools = true } = backend.capabilities
    const { stages, asksToGoOn } = session
    const tools = this.toolsOffered ? toolSpecs(start, runner.serverTools(), stages, changesTools, asksToGoOn) : []
    return { instructions: this.instructions, tools, ...stageVoices(start.agent, stages) }
  }
}
