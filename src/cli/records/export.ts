import { extname } from 'node:path'
import type { CallRecord } from '../../call/documents/record.js'
import { packageVersion } from '../../config/package-root.js'
import { loadConfig } from '../../config/load-config.js'
import { messageOf } from '../../core/errors.js'
import { ERASE_PEER_MS } from '../../core/limits.js'
import { subscriberNumber, useCountry } from '../../sautikit/phone.js'
import { Archive } from './archive.js'
import { UsageError } from '../exit-codes.js'
import { fileOfCall, opsClientOf, refusalOf } from '../ops-client.js'
import type { OpsClient, OpsOptions } from '../ops-client.js'
import { shown } from '../terminal.js'
import type { Terminal } from '../terminal.js'

/** The options of `mkondo export`. */
export interface ExportOptions extends OpsOptions {
  readonly masked?: true
  readonly to: string
}

/** Answer of `POST /api/export`. */
interface Found {
  readonly callSids: readonly string[]
  readonly live: number
  readonly uncertain: number
  readonly more: number
  readonly rows: readonly object[]
  readonly doNotCall: boolean
  /** Memory of the caller; null if the store did not answer. Absent if the gateway has an earlier version. */
  readonly remembered?: readonly object[] | null
  /** Absent from earlier builds. */
  readonly messages?: readonly object[]
  readonly silent: readonly string[]
  /** Absent from earlier builds. */
  readonly unlooked?: readonly string[]
}

/** `mkondo export`. */
export async function exportCaller(given: string, options: ExportOptions, terminal: Terminal): Promise<number> {
  const { country } = loadConfig(terminal.env, options.config ?? null)
  useCountry(country)
  const number = subscriberNumber(given === '-' ? (await terminal.input()).trim() : given)
  // The error does not contain the number, because phone numbers are never printed.
  if (number === null) throw new UsageError('the number is not a phone number; allowed: 7 or more digits')
  const ops = opsClientOf(options, terminal, ERASE_PEER_MS)
  const found = await ops.ask<Found>('/api/export', { number, masked: options.masked === true })
  const { rows, callSids, messages = [], remembered } = found
  const archive = new Archive()
  archive.missing.push(...missingOf(found))
  if (rows.length > 0) archive.add('campaigns.json', rows)
  if (messages.length > 0) archive.add('messages.json', messages)
  if (remembered != null && remembered.length > 0) archive.add('remembered.json', remembered)
  for (const callSid of callSids) await addCall(archive, ops, callSid)
  const about = aboutOf(found, archive)
  const name = `mkondo-export-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`
  const path = await archive.write(options.to, name, about, 'wx')
  const { names, missing } = archive
  const result = { path, calls: callSids.length, files: names, missing }
  shown(options, terminal, result, () => `${path}\n\n${about}`)
  return missing.length === 0 ? 0 : 1
}

function missingOf({ live, uncertain, more, silent, remembered, unlooked = [] }: Found): string[] {
  return [
    ...unlooked
      .filter((what) => remembered !== null || what !== "the fleet's store")
      .map((what) => `${what}: not looked at`),
    ...(remembered === null ? ['memory of the last calls: the store did not answer; repeat the command'] : []),
    ...silent.map((node) => `the calls at node ${node}, which did not answer: repeat the command when it does`),
    ...(live === 0 ? [] : [`calls that are live (${live}): repeat the command when they have ended`]),
    ...(uncertain === 0
      ? []
      : [
          `calls with a masked number that may be this one (${uncertain}): --masked includes them, and perhaps calls of other people`,
        ]),
    ...(more === 0 ? [] : [`${more} more calls, which one answer cannot list`]),
  ]
}

async function addCall(archive: Archive, ops: OpsClient, callSid: string): Promise<void> {
  const [call, handoff] = await Promise.all([
    ops.answer(`/api/calls/${callSid}`),
    ops.answer(`/api/calls/${callSid}/handoff`),
  ])
  const record = call.body as Partial<CallRecord>
  if (call.status === 200) archive.add(`${callSid}/record.json`, record)
  else archive.missing.push(`${callSid}/record.json: ${refusalOf(call.body, call.status).message}`)
  if (handoff.status === 200) archive.add(`${callSid}/handoff.json`, handoff.body)
  else if (handoff.status !== 404)
    archive.missing.push(`${callSid}/handoff.json: ${refusalOf(handoff.body, handoff.status).message}`)
  const addFile = async (view: string, name: string, isNamed: boolean, node: string | null = null): Promise<void> => {
    const bytes = await fileOfCall(ops, callSid, view).catch((thrown: unknown) => ({
      status: 0,
      why: messageOf(thrown),
    }))
    if (bytes instanceof Uint8Array) archive.add(`${callSid}/${name}`, bytes)
    else if (bytes.status !== 404 || isNamed)
      archive.missing.push(
        `${callSid}/${name}: ${bytes.why}${node === null ? '' : ` (it was recorded at node ${node})`}`,
      )
  }
  for (const { recording, node } of record.resumed ?? [])
    if (recording !== null)
      await addFile(`recording.wav?part=${partOf(recording)}`, `recording.${partOf(recording)}.wav`, true, node)
  if (typeof record.recording === 'string')
    await addFile(`recording.wav?part=${partOf(record.recording)}`, 'recording.wav', true)
  const carriers = record.carrier?.recording ?? null
  if (carriers !== null) await addFile('carrier-recording', `carrier-recording${extname(carriers)}`, true)
  await addFile('journal.jsonl', 'journal.jsonl', false)
}

/** Part number in a recording's file name: `recordings/SID.wav` is part 1, `recordings/SID.2.wav` is part 2. */
function partOf(recording: string): string {
  return /\.(\d)\.wav$/.exec(recording)?.[1] ?? '1'
}

function aboutOf({ callSids, doNotCall }: Found, { names, missing }: Archive): string {
  return (
    `What the gateway keeps of a caller: ${callSids.length} calls. Made by mkondo ${packageVersion()}.\n` +
    `The number is ${doNotCall ? '' : 'not '}on the do-not-call list.\n\n` +
    `${Archive.section('Contents', names)}\n` +
    (missing.length === 0 ? '' : `${Archive.section('Missing', missing)}\n`) +
    'Not kept here: log lines, traces, and what receivers of messages, tools, the carrier and the model have.\n'
  )
}
