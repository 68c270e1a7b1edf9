import type { ChatMessage, ModelRequest } from '../../backends/cascade/service.js'

/** The request of `/answer`. */
export interface ToyModelRequest {
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly tools: ModelRequest['tools']
  readonly temperature?: number
  readonly wit?: number
}

/** The data of an event of the answer. */
export interface ToyModelEvent {
  readonly text?: string
  readonly call?: { readonly id: string; readonly tool: string; readonly arguments: unknown }
  readonly usage?: { readonly in: number; readonly out: number }
  readonly error?: string
}
