import { GatewayError } from '../core/errors.js'
import type { MessageView } from '../messages/outbox.js'
import { opsClientOf, printed } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { json, table } from './terminal.js'
import type { Terminal } from './terminal.js'

interface Waiting {
  readonly waiting: number
  readonly dead: number
  readonly messages: readonly MessageView[]
}

const HEAD = ['KEY', 'EVENT', 'RECEIVER', 'TRIES', 'NEXT TRY', 'REASON']

/** `mkondo messages list`. */
export function listMessages(options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, '/api/messages', ({ waiting, dead, messages }: Waiting) => {
    const rows = messages.map(({ key, type, receiver, tries, nextTryAt, reason }) => [
      ...[key, type, receiver, String(tries)],
      ...[nextTryAt ?? 'none', reason ?? ''],
    ])
    return `${table(HEAD, rows, 'no message waits')}${waiting} wait, ${dead} are not tried again\n`
  })
}

/** `mkondo messages show`: prints one message. */
export async function showMessage(key: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const { messages } = await opsClientOf(options, terminal).ask<Waiting>('/api/messages')
  const found = messages.find((message) => message.key === key)
  if (found === undefined) throw new GatewayError('CALL_FAULT', NO_MESSAGE)
  terminal.out(json(found))
  return 0
}

const NO_MESSAGE = 'NOT_FOUND: no such message waits at this process; allowed: a key of mkondo messages list'

/** `mkondo messages retry`. */
export function retryMessage(key: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, `/api/messages/${encodeURIComponent(key)}/retry`, () => 'it is tried now\n', {})
}
