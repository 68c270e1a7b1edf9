import type { CallRecord, CarrierDetail } from '../call/documents/record.js'
import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { Config } from '../config/settings.js'
import { ApiPaths, isApiPath } from '../sautikit-api/api-paths.js'
import { CallDetails } from '../sautikit-api/call-details.js'
import { SautikitClient } from '../sautikit-api/client.js'
import { CarrierHttp } from '../sautikit-api/http.js'
import { CarrierNumbers } from '../sautikit-api/numbers.js'
import type { CarrierControl } from '../workers/main/main-thread-context.js'
import type { AccountEvent } from '../sautikit/webhook.js'
import type { WalletWatch } from '../sautikit-api/wallet.js'
import type { CallRegistry } from '../workers/main/call-registry.js'
import type { OutboundCalls } from '../workers/main/outbound-calls.js'
import { callRecordSchema } from '../call/documents/record.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallArchive } from './call-archive.js'

/** Maximum age in ms of an earlier run's call whose missing detail record is requested again. */
const CARRIER_DETAIL_RESUME_MS = 3_600_000

/** The carrier's REST API with this gateway's key. */
export interface CarrierApi {
  readonly http: CarrierHttp
  readonly calls: SautikitClient
  readonly numbers: CarrierNumbers
  /** URL paths of the requests that the carrier accepted. */
  readonly paths: ApiPaths
}

/** Carrier's API; null without a key. */
export function carrierApi(config: Config): CarrierApi | null {
  if (config.apiKey === null) return null
  const http = new CarrierHttp({ baseUrl: config.apiUrl, apiKey: config.apiKey })
  const paths = new ApiPaths(config.apiPaths.filter(isApiPath))
  return { http, calls: new SautikitClient(http, paths), numbers: new CarrierNumbers(http, paths), paths }
}

/** @throws GatewayError CONFIG_INVALID without a key */
export function requiredCarrierApi(config: Config): CarrierApi {
  const api = carrierApi(config)
  if (api === null)
    throw new GatewayError('CONFIG_INVALID', "SAUTIKIT_API_KEY is not set; the carrier's API requires it")
  return api
}

/** Commands to the carrier about a live call. */
export function carrierControl(api: CarrierApi): CarrierControl {
  return {
    hangup: (callSid, key) => api.calls.hangup(callSid, { idempotencyKey: key }),
    supervise: (callSid, phone, key) => api.calls.supervise(callSid, phone, key),
    callHuman: async (from, phone, voiceUrl, key) => {
      await api.calls.createCall({ from, to: phone, voiceCallbackUrl: voiceUrl, clientRequestId: key })
    },
  }
}

/**
 * @param daysOf  time in days for which the carrier's recording of a call is stored; null for the default of the
 * settings
 */
export function callDetails(
  api: CarrierApi,
  config: Config,
  log: Log,
  daysOf: (callSid: CallSid) => number | null,
  onDetail: (callSid: CallSid, detail: CarrierDetail) => void,
): CallDetails {
  return new CallDetails({
    client: api.calls,
    recordings: config.carrierRecordings ? { dataFolder: config.dataDir, daysOf } : null,
    allowHttp: config.apiUrl.startsWith('http:'),
    log: log.component('sautikit-api'),
    onDetail,
  })
}

/**
 * Adds the carrier's details to the record of an ended call. The record is read from memory, or from the archive if it
 * is not in memory any more.
 * @returns null if there is no record
 */
export async function joinedRecord(
  callSid: CallSid,
  detail: CarrierDetail,
  calls: Pick<CallRegistry, 'join'> | null,
  kept: Pick<CallArchive, 'find'>,
): Promise<CallRecord | null> {
  const here = calls?.join(callSid, { carrier: detail }) ?? null
  if (here !== null) return here
  const read = callRecordSchema.safeParse(await kept.find('record', callSid))
  return read.success ? { ...read.data, carrier: detail } : null
}

/** Requests the missing details and recordings of calls of an earlier run again. */
export function resumeDetails(
  details: Pick<CallDetails, 'follow'>,
  ended: readonly CallRecord[],
  nowWallMs: number,
): void {
  for (const { callSid, carrier, startedAt, outcome, consent } of ended) {
    const recent = nowWallMs - Date.parse(startedAt) < CARRIER_DETAIL_RESUME_MS
    const awaited = carrier === null || carrier.recordingState === 'pending'
    if (awaited && recent && outcome !== 'refused' && isCallSid(callSid)) details.follow(callSid, consent !== 'refused')
  }
}

/** Voice URL of calls that this gateway places; null if the carrier cannot reach this gateway. */
export function voiceUrlOf(config: Config, publicPort: number, agent: string): string | null {
  if (config.publicUrl !== null) return `${config.publicUrl}/voice/${agent}`
  // A carrier on this machine, such as the simulator, reaches this gateway at a loopback address.
  const host = new URL(config.apiUrl).hostname
  const origin = config.tlsCert === null ? `http://127.0.0.1:${publicPort}` : `https://localhost:${publicPort}`
  return host === '127.0.0.1' || host === 'localhost' ? `${origin}/voice/${agent}` : null
}

/** Counters of the carrier's API, copied once a second. */
export function countCarrier(
  metrics: Metrics,
  api: CarrierApi | null,
  details: CallDetails | null,
  outbound: OutboundCalls,
): void {
  const requests = metrics.defineCounter('carrier_api_requests', "Requests to the carrier's REST API, by result", [
    'result',
  ])
  metrics.countFrom(requests({ result: 'sent' }), () => api?.http.counters.requests ?? 0)
  metrics.countFrom(requests({ result: 'retried' }), () => api?.http.counters.retries ?? 0)
  metrics.countFrom(requests({ result: 'failed' }), () => api?.http.counters.failures ?? 0)
  const records = metrics.defineCounter('carrier_details', "The carrier's records of ended calls, by result", [
    'result',
  ])
  for (const result of ['fetched', 'missing', 'refused', 'dropped', 'cancelled'] as const) {
    metrics.countFrom(records({ result }), () => details?.counters[result] ?? 0)
  }
  const recordings = metrics.defineCounter('carrier_recordings', "The carrier's recordings of ended calls", ['result'])
  metrics.countFrom(recordings({ result: 'kept' }), () => details?.counters.recordings ?? 0)
  metrics.countFrom(recordings({ result: 'failed' }), () => details?.counters.recordingsFailed ?? 0)
  metrics.countEach('outbound_calls', 'Calls that this gateway was asked to place', 'result', outbound.counters)
}

/** Handles an event about the carrier's account. Stores the wallet's balance; logs all other events for an operator. */
export function noteAccountEvent(event: AccountEvent, wallet: WalletWatch | null, log: Log): void {
  if (event.kind === 'storage.tier_changed') {
    const { tierGb, previousTierGb } = event
    const text = "the carrier's storage of recordings has another size"
    if (tierGb !== null && previousTierGb !== null && tierGb < previousTierGb)
      log.warn({ tier_gb: tierGb, previous_tier_gb: previousTierGb }, text)
    else log.info({ tier_gb: tierGb, previous_tier_gb: previousTierGb }, text)
    return
  }
  wallet?.heard(event.balanceMinor)
  const balance = { balance_minor: event.balanceMinor }
  if (event.kind === 'wallet.top_up') log.info(balance, "the carrier's wallet was topped up")
  else
    log.warn(
      balance,
      "the carrier's wallet is low: when it is empty, the carrier refuses calls that the gateway places",
    )
}
