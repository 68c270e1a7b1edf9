import type { ToolReply } from '../../../backends/backend.js'
import type { CallOutput } from '../../../call/events.js'
import { withoutNoValues } from '../../../call/tools/value-fault.js'
import { later } from '../worker-door.js'
import type { WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

type ToolResult = Extract<CallOutput, { type: 'backend-tool-result' }>

/** Passes the session's orders on to the call's backend. */
export class Model implements WorkerPart {
  readonly #door: WorkerDoor
  readonly #of: WorkerThings

  constructor(door: WorkerDoor, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  readonly outputs = {
    'backend-speech-start': ({ atMs }) => this.#of.backend.speechStart(atMs),
    'backend-speech-end': ({ atMs, unless }) => this.#of.backend.speechEnd(atMs, unless),
    'backend-text': (output) => this.#of.backend.sendText(output.text, output),
    'backend-interrupt': ({ itemId, playedMs }) => this.#of.backend.interrupt({ itemId, playedMs }),
    'backend-close': ({ reason }) => void this.#of.backend.close(reason),
    'backend-tool-result': (output) =>
      this.#of.backend.toolResult(output.callId, replyOf({ ...output, value: this.#readable(output) })),
    'backend-tool-outcome': (output) => this.#outcome(output),
    'backend-tools': ({ offered }) => {
      const { backend, briefing } = this.#of
      briefing.toolsOffered = offered
      backend.updateSession({ tools: briefing.told.tools })
    },
    stage: ({ forget }) => {
      const { backend, briefing, session } = this.#of
      backend.updateSession({
        ...briefing.told,
        news: session.stages?.text ?? '',
        ...(forget === true ? { forget: true } : {}),
      })
    },
    language: ({ language }) => this.#of.backend.updateSession({ language }),
  } satisfies OutputHandlers

  #outcome(output: Extract<CallOutput, { type: 'backend-tool-outcome' }>): void {
    const { callId, ok, text, respond } = output
    const { backend } = this.#of
    // If another worker or another agent ran the tool, `forModel` returns the value unchanged.
    const value = backend.capabilities.readsTexts === false ? output.value : withoutNoValues(this.#readable(output))
    if (backend.toolOutcome?.(callId, { ok, value }) === true) return
    if (backend.capabilities.readsTexts !== false) return backend.sendText(text, { role: 'system', respond })
    later(this.#door, () => this.#door.handle({ type: 'tool-untold', callId }))
  }

  /** Result of a tool call in the form that this backend reads. The embedded backend decides by the unchanged value. */
  #readable({ callId, value }: Pick<ToolResult, 'callId' | 'value'>): unknown {
    const { backend, tools } = this.#of
    return backend.capabilities.readsTexts === false ? value : tools.forModel(callId, value)
  }
}

function replyOf({ ok, value, pending }: ToolResult): ToolReply {
  return pending === undefined ? { ok, value } : { ok, value, pending }
}
