import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { parseArguments } from '../tool-text.js'
import type { CallEntry } from './conversation.js'
import type { CallPiece } from './service.js'

/** Tool calls of one answer. */
const CALLS_MAX = 16

interface WrittenCall {
  /** The server's number of the call, from 0 or from 1; null where it gives none. */
  readonly index: number | null
  id: string
  /** The id is the server's. */
  named: boolean
  name: string
  argumentsText: string
}

/**
 * Some servers number each whole call 0 (Gemini's and Ollama's `/chat/completions`): another id or, without ids, another name after
 * whole arguments begins another call. An id alone does not: vLLM before 0.8 makes a new one for each piece.
 */
function beginsAnother(
  call: WrittenCall,
  { id = '', function: { name = '', arguments: text } = {} }: CallPiece,
): boolean {
  if (typeof name !== 'string' || name === '') return false
  if (typeof id === 'string' && id !== '' && call.named) return id !== call.id
  const isWhole = call.argumentsText.trim() !== '' && parseArguments(call.argumentsText).invalid === undefined
  return isWhole && text !== undefined && (text as unknown) !== ''
}

/** The tool calls of one answer of a language model, as they arrive. */
export class WrittenCalls {
  readonly all: WrittenCall[] = []
  readonly #idPrefix: string

  /** @param idPrefix  of the ids of calls to which the server gives none */
  constructor(idPrefix: string) {
    this.#idPrefix = idPrefix
  }

  /** Arguments come in fragments, by index; some servers send complete calls without an index. */
  collect(pieces: readonly CallPiece[]): void {
    for (const piece of pieces) {
      let call = this.all.findLast((one) => one.index === piece.index && one.index !== null)
      if (call === undefined || beginsAnother(call, piece)) {
        if (this.all.length >= CALLS_MAX) continue
        call = {
          index: typeof piece.index === 'number' ? piece.index : null,
          id: `${this.#idPrefix}-${this.all.length}`,
          named: false,
          name: '',
          argumentsText: '',
        }
        this.all.push(call)
      }
      if (typeof piece.id === 'string' && piece.id !== '' && !call.named) {
        call.id = piece.id
        call.named = true
      }
      if (typeof piece.function?.name === 'string') call.name = piece.function.name
      const text = piece.function?.arguments
      // Some servers write the object itself.
      if (typeof text === 'object' && text !== null && call.argumentsText === '')
        call.argumentsText = JSON.stringify(text)
      else if (typeof text === 'string' && call.argumentsText.length <= BACKEND_TOOL_TEXT_CHARS_MAX)
        call.argumentsText += text
    }
  }

  /** For the conversation; arguments that are no JSON object become an empty one. */
  entries(): CallEntry[] {
    return this.all.map(({ id, name, argumentsText }) => {
      const { args, mended } = parseArguments(argumentsText)
      const plain = Object.keys(args).length > 0 && mended !== true
      return { callId: id, name, argumentsText: plain ? argumentsText : JSON.stringify(args), answer: null }
    })
  }
}
