import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/support/until.js'

/** Receiver of messages, which records the messages by their ids. */
export interface CountingReceiver {
  /** Content for `MESSAGES_FILE` that names only this receiver. */
  readonly file: string
  /** For each message, all times of arrival on the clock of `performance.now`. */
  readonly ids: ReadonlyMap<string, readonly number[]>
  /** Messages of `expected` that have not arrived within `ms`. */
  missing(expected: readonly string[], ms: number): Promise<readonly string[]>
  close(): void
}

/** Ids of the messages that are sent for each call that had a stream. */
export const messagesOf = (callSids: readonly string[]): readonly string[] =>
  callSids.flatMap((callSid) => [`${callSid}:call.started`, `${callSid}:call.ended`])

export async function startReceiver(): Promise<CountingReceiver> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-receiver-'))
  const ids = new Map<string, number[]>()
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      const id = String(request.headers['webhook-id'])
      ids.set(id, [...(ids.get(id) ?? []), performance.now()])
      response.end()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const file = join(folder, 'messages.yaml')
  writeFileSync(file, `receivers: [{ name: crm, url: '${url}', unsigned: true }]\n`)
  return {
    file,
    ids,
    missing: async (expected, ms) => {
      const missing = (): readonly string[] => expected.filter((id) => !ids.has(id))
      await until(() => missing().length === 0, ms, 'the messages').catch(() => undefined)
      return missing()
    },
    close: () => {
      server.closeAllConnections()
      server.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
