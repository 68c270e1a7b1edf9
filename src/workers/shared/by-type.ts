/** Handlers of one kind of messages, by the message's type. */
export type Handlers<Message extends { readonly type: string }, Rest extends readonly unknown[] = []> = {
  readonly [Type in Message['type']]?: (message: Extract<Message, { readonly type: Type }>, ...rest: Rest) => void
}

type Handler<Message, Rest extends readonly unknown[]> = (message: Message, ...rest: Rest) => void

/** Gives each message to the parts of a call that take its type, in the order of the parts. */
export class ByType<Message extends { readonly type: string }, Rest extends readonly unknown[] = []> {
  readonly #handlers = new Map<string, Handler<Message, Rest>[]>()

  constructor(tables: readonly (Handlers<Message, Rest> | undefined)[]) {
    for (const table of tables) {
      // The type's handler accepts only messages of this type.
      for (const [type, handler] of Object.entries(table ?? {}) as [string, Handler<Message, Rest>][])
        this.#handlers.set(type, [...(this.#handlers.get(type) ?? []), handler])
    }
  }

  /** @returns true if at least one part takes this message */
  give(message: Message, ...rest: Rest): boolean {
    const handlers = this.#handlers.get(message.type)
    if (handlers === undefined) return false
    for (const handle of handlers) handle(message, ...rest)
    return true
  }
}
