import { messageOf } from '../core/errors.js'
import { OpsClient, refusalOf } from './ops-client.js'

/**
 * A file of a call (`CALL_VIEWS`), from the node that has it; or why there is none.
 * @returns `status` 0 when that node does not answer
 * @throws GatewayError when the gateway that is asked first does not answer, or the file is too large
 */
export async function fileOfCall(
  ops: OpsClient,
  callSid: string,
  file: string,
  token: string | null,
): Promise<Uint8Array | { readonly status: number; readonly why: string }> {
  const path = `/api/calls/${callSid}/${file}`
  const first = await ops.file(path)
  if (first instanceof Uint8Array) return first
  const { message } = refusalOf(first.body, first.status)
  const elsewhere = /: ask (http:\/\/\S+?)\/api\/calls\//.exec(message)?.[1]
  if (elsewhere === undefined) return { status: first.status, why: message }
  try {
    const second = await new OpsClient(elsewhere, token).file(path)
    if (second instanceof Uint8Array) return second
    return { status: second.status, why: refusalOf(second.body, second.status).message }
  } catch (thrown) {
    return { status: 0, why: messageOf(thrown) }
  }
}

/** The journal of a call. */
export async function journalOf(
  ops: OpsClient,
  callSid: string,
  token: string | null,
): Promise<string | { readonly why: string }> {
  const file = await fileOfCall(ops, callSid, 'journal.jsonl', token)
  return file instanceof Uint8Array ? new TextDecoder().decode(file) : file
}
