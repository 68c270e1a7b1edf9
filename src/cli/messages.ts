import type { MessageView } from '../messages/outbox.js'
import { opsClientOf, refusalOf } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { json, table } from './terminal.js'
import type { Terminal } from './terminal.js'

/** `mkondo messages list`. */
export async function listMessages(options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get('/api/messages')
  if (status !== 200) throw refusalOf(body, status)
  if (options.json === true) {
    terminal.out(json(body))
    return 0
  }
  const { waiting, dead, messages } = body as unknown as {
    readonly waiting: number
    readonly dead: number
    readonly messages: readonly MessageView[]
  }
  const rows = messages.map(({ key, type, receiver, tries, nextTryAt, reason }) => [
    key,
    type,
    receiver,
    String(tries),
    nextTryAt ?? 'none',
    reason ?? '',
  ])
  terminal.out(table(['KEY', 'EVENT', 'RECEIVER', 'TRIES', 'NEXT TRY', 'REASON'], rows, 'no message waits'))
  terminal.out(`${waiting} wait, ${dead} are tried no more\n`)
  return 0
}

/** `mkondo messages show`: one of them. */
export async function showMessage(key: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).get('/api/messages')
  if (status !== 200) throw refusalOf(body, status)
  const found = (body['messages'] as readonly MessageView[]).find((message) => message.key === key)
  if (found === undefined) throw refusalOf({ error: { code: 'NOT_FOUND', message: NO_MESSAGE } }, 404)
  terminal.out(json(found))
  return 0
}

const NO_MESSAGE = 'no such message waits at this process; allowed: a key of mkondo messages list'

/** `mkondo messages retry`. */
export async function retryMessage(key: string, options: OpsOptions, terminal: Terminal): Promise<number> {
  const { status, body } = await opsClientOf(options, terminal).post(
    `/api/messages/${encodeURIComponent(key)}/retry`,
    {},
  )
  if (status !== 200) throw refusalOf(body, status)
  terminal.out(options.json === true ? json(body) : 'it is tried now\n')
  return 0
}
