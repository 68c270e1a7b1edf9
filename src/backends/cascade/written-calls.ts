import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { parseArguments } from '../tool-text.js'
import type { CallEntry } from './conversation.js'
import type { CallPiece } from './service.js'

/** Maximum number of tool calls of one answer. */
const CALLS_MAX = 16

interface WrittenCall {
  /** The server's index of the tool call; the first index is 0 or 1. Null if the server does not number tool calls. */
  readonly index: number | null
  /** Unique in the session. */
  id: string
  /** The server's id; null if the server has not sent one. */
  serverId: string | null
  name: string
  argumentsText: string
}

/**
 * True if the piece begins another tool call. Some servers send index 0 for each whole tool call (Ollama's
 * `/chat/completions`, and a vendor's). In an answer of such a server, a name with another id begins another tool call.
 * If the pieces have no ids, a name after complete arguments begins another tool call. An id without a name does not
 * begin a tool call: vLLM before 0.8 makes a new id for each piece.
 */
function beginsAnother(
  call: WrittenCall,
  { id = '', function: { name = '', arguments: text } = {} }: CallPiece,
): boolean {
  if (typeof name !== 'string' || name === '') return false
  if (typeof id === 'string' && id !== '' && call.serverId !== null) return id !== call.serverId
  const isWhole = call.argumentsText.trim() !== '' && parseArguments(call.argumentsText).invalid === undefined
  return isWhole && text !== undefined && (text as unknown) !== ''
}

/** The tool calls of one answer of a language model, as they arrive. */
export class WrittenCalls {
  readonly all: WrittenCall[] = []
  readonly #idPrefix: string
  readonly #isUsed: (id: string) => boolean

  /**
   * @param idPrefix prefix of the ids of tool calls without a usable id from the server; unique in the session
   * @param isUsed true for the id of a tool call of an earlier answer. Some servers use equal ids in each answer
   */
  constructor(idPrefix: string, isUsed: (id: string) => boolean = () => false) {
    this.#idPrefix = idPrefix
    this.#isUsed = isUsed
  }

  /**
   * Adds pieces of tool calls. The index shows to which tool call a fragment of arguments belongs. Some servers send
   * complete tool calls without an index.
   */
  collect(pieces: readonly CallPiece[]): void {
    for (const piece of pieces) {
      let call = this.all.findLast((one) => one.index === piece.index && one.index !== null)
      if (call === undefined || beginsAnother(call, piece)) {
        if (this.all.length >= CALLS_MAX) continue
        call = {
          index: typeof piece.index === 'number' ? piece.index : null,
          id: `${this.#idPrefix}-${this.all.length}`,
          serverId: null,
          name: '',
          argumentsText: '',
        }
        this.all.push(call)
      }
      if (typeof piece.id === 'string' && piece.id !== '' && call.serverId === null) {
        const { id } = piece
        call.serverId = id
        if (!this.#isUsed(id) && !this.all.some((other) => other.id === id)) call.id = id
      }
      if (typeof piece.function?.name === 'string') call.name = piece.function.name
      const text = piece.function?.arguments
      // Some servers send the arguments as an object, not as text.
      if (typeof text === 'object' && text !== null && call.argumentsText === '')
        call.argumentsText = JSON.stringify(text)
      else if (typeof text === 'string' && call.argumentsText.length <= BACKEND_TOOL_TEXT_CHARS_MAX)
        call.argumentsText += text
    }
  }

  /**
   * @returns the tool calls as the conversation stores them. Arguments that are not a JSON object become an empty
   * object
   */
  entries(): CallEntry[] {
    return this.all.map(({ id, name, argumentsText }) => {
      const { args, mended } = parseArguments(argumentsText)
      const plain = Object.keys(args).length > 0 && mended !== true
      return { callId: id, name, argumentsText: plain ? argumentsText : JSON.stringify(args), answer: null }
    })
  }
}
