import { messageOf } from '../core/errors.js'
import { OpsClient, refusalOf } from './ops-client.js'

/** The journal of a call, from the node that has it; or why there is none. */
export async function journalOf(
  ops: OpsClient,
  callSid: string,
  token: string | null,
): Promise<string | { readonly why: string }> {
  const path = `/api/calls/${callSid}/journal.jsonl`
  const first = await ops.text(path)
  if (typeof first === 'string') return first
  const { message } = refusalOf(first.body, first.status)
  const elsewhere = /: ask (http:\/\/\S+?)\/api\/calls\//.exec(message)?.[1]
  if (elsewhere === undefined) return { why: message }
  try {
    const second = await new OpsClient(elsewhere, token).text(path)
    return typeof second === 'string' ? second : { why: refusalOf(second.body, second.status).message }
  } catch (thrown) {
    return { why: messageOf(thrown) }
  }
}
