import { callerAnswer, findCaller, withEarlier } from '../../../agents/identity/caller.js'
import type { CallerAnswer, EarlierCall } from '../../../call/caller-data.js'
import { subscriberNumber } from '../../../sautikit/phone.js'
import type { Handlers } from '../../shared/by-type.js'
import type { ToCall } from '../../shared/call-messages.js'
import { callerNews, greetingText } from '../call-setup.js'
import { wallMsOf } from '../worker-context.js'
import type { WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

/** Looks the caller up while the backend connects, and gives the backend the result. */
export class CallerLookUp implements WorkerPart {
  readonly #door: WorkerDoor
  readonly #of: WorkerThings
  #recalled: (earlier: EarlierCall | null) => void = () => undefined

  constructor(door: WorkerDoor, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  readonly outputs = { caller: () => this.#tell() } satisfies OutputHandlers

  readonly messages = {
    'caller-recalled': ({ earlier }) => this.#recalled(earlier),
  } satisfies Handlers<ToCall>

  /**
   * The look-up begins before the backend connects. The backend starts with the facts that are known by the time it
   * connects.
   */
  begin(): void {
    const { start, session, context } = this.#of
    const { post, guard } = this.#door
    if (!session.caller.open) return
    const answer = this.#answer()
    if (start.agent.caller?.memory !== true || subscriberNumber(start.from) === null) {
      if (!(answer instanceof Promise)) return this.#known(answer)
      return void answer.then((known) => guard(() => this.#known(known)))
    }
    const recalled = new Promise<EarlierCall | null>((resolve) => (this.#recalled = resolve))
    post({ type: 'caller-recall' })
    void Promise.all([answer, recalled]).then(([known, earlier]) =>
      guard(() => this.#known(earlier === null ? known : withEarlier(known, earlier, wallMsOf(context)))),
    )
  }

  #answer(): CallerAnswer | Promise<CallerAnswer> {
    const { start, tools, signal } = this.#of
    const { agent, assets, from, knownCaller = null } = start
    const { tool, file } = agent.caller ?? {}
    if (file !== undefined && assets.callers !== null) return findCaller(assets.callers, from)
    const at = tool === undefined ? 'memory' : 'tool'
    if (subscriberNumber(from) === null) return { state: 'withheld', from: at, values: {} }
    if (tool === undefined) return { state: 'unknown', from: at, values: {} }
    if (knownCaller !== null) return { state: 'found', from: 'cache', values: knownCaller }
    return tools.lookUp(tool).then((outcome) => {
      const answer = callerAnswer(outcome, from)
      if (answer.state === 'found' && !signal.aborted) this.#door.post({ type: 'caller-found', values: answer.values })
      return answer
    })
  }

  #known(answer: CallerAnswer): void {
    this.#door.handle({ type: 'caller-known', ...answer })
  }

  /** Gives the backend the present facts about the caller. */
  #tell(): void {
    const { start, session, backend, briefing } = this.#of
    const { caller, language } = session
    backend.updateSession({
      greeting: greetingText(start, language, caller.values),
      caller: caller.values,
      ...callerNews(start, caller, briefing.instructions),
    })
  }
}
