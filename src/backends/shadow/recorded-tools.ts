import { sameJson } from '../../call/tool-ledger.js'
import { BACKEND_TOOL_CALLS_KEPT, SHADOW_TOOL_WAIT_MS, TOOLS_RUNNING_MAX } from '../../core/limits.js'
import type { ToolReply } from '../backend.js'
import type { BackendTimers } from '../timers.js'

interface RealCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  reply: ToolReply | null
}

interface WaitingCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly cancel: () => void
}

const NOTHING: ToolReply = { ok: false, value: { error: 'This tool cannot be reached right now.' } }

/**
 * The tools of a shadow: nothing is run for it. Its calls get the results of the primary's calls with the same name and
 * arguments, also of one that comes a little later; without one, an error that a model can live with.
 */
export class RecordedTools {
  answered = 0
  unanswered = 0
  readonly #timers: BackendTimers
  readonly #answer: (callId: string, reply: ToolReply) => void
  readonly #real: RealCall[] = []
  #waiting: WaitingCall[] = []

  /** @param answer  gives the shadow its result */
  constructor(timers: BackendTimers, answer: (callId: string, reply: ToolReply) => void) {
    this.#timers = timers
    this.#answer = answer
  }

  /** The primary calls a tool, which is run. */
  called(callId: string, name: string, args: Readonly<Record<string, unknown>>): void {
    this.#real.push({ callId, name, args, reply: null })
    if (this.#real.length > BACKEND_TOOL_CALLS_KEPT) this.#real.shift()
  }

  /** Its result is there. */
  result(callId: string, reply: ToolReply): void {
    const real = this.#real.findLast((call) => call.callId === callId && call.reply === null)
    if (real === undefined) return
    real.reply = reply
    const served = this.#waiting.filter((one) => one.name === real.name && sameJson(one.args, real.args))
    this.#waiting = this.#waiting.filter((one) => !served.includes(one))
    for (const { callId: waiting, cancel } of served) {
      cancel()
      this.#serve(waiting, reply)
    }
  }

  /** The shadow calls a tool, which is not. */
  wanted(callId: string, name: string, args: Readonly<Record<string, unknown>>): void {
    const real = this.#real.findLast((call) => call.name === name && sameJson(call.args, args))
    if (real !== undefined && real.reply !== null) return this.#serve(callId, real.reply)
    if (this.#waiting.length >= TOOLS_RUNNING_MAX) return this.#refuse(callId)
    const cancel = this.#timers.after(SHADOW_TOOL_WAIT_MS, () => {
      this.#waiting = this.#waiting.filter((one) => one.callId !== callId)
      this.#refuse(callId)
    })
    this.#waiting.push({ callId, name, args, cancel })
  }

  close(): void {
    for (const { cancel } of this.#waiting.splice(0)) cancel()
  }

  #serve(callId: string, reply: ToolReply): void {
    this.answered++
    this.#answer(callId, reply)
  }

  #refuse(callId: string): void {
    this.unanswered++
    this.#answer(callId, NOTHING)
  }
}
