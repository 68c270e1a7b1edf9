import { startDarajaDouble } from './daraja-double.js'
import type { Payer } from './daraja-double.js'
import { startPayApi } from './pay.js'

/** Price of an invented order, in whole shillings. */
export function priceOf(order: string): number | undefined {
  return /^41\d\d$/.test(order) ? 2000 : undefined
}

/** Each caller with an invented number owes one order. */
export function orderOf(phone: string): string | undefined {
  return /^\+2547000000\d\d$/.test(phone) ? `41${phone.slice(-2)}` : undefined
}

/** Action of the owner of an invented number, by its last digit. */
const PAYERS: readonly Payer[] = [
  'pays',
  'pays',
  'cancels',
  'has-too-little',
  'does-nothing',
  'pays-unheard',
  'pays-before-the-answer',
  'pays-and-is-told-twice',
  'mistypes-the-pin',
  'is-not-reached',
]

export function payerOf(phone: string): Payer {
  return PAYERS[Number(phone.at(-1))] ?? 'pays'
}

/** The code that this API sends. `scenarios/proves-the-number.yaml` enters it on the keypad. */
export const DEMO_CODE = '135790'

/** The pay API with a double of Daraja, on loopback. Ports that are not given are free ports. */
export async function startPayDemo({
  pinMs = 4000,
  payer = payerOf,
  sms = () => undefined,
  newCode = () => DEMO_CODE,
  ...more
}: {
  readonly pinMs?: number
  readonly tellAgainMs?: number
  readonly payer?: (phone: string) => Payer
  readonly sms?: (phone: string, text: string) => void
  readonly newCode?: () => string
  readonly port?: number
  readonly host?: string
  readonly continueSecret?: string
} = {}): Promise<{ readonly url: string; readonly prompts: readonly string[]; close(): Promise<void> }> {
  const double = await startDarajaDouble({ payer, pinMs })
  const daraja = { url: double.url, key: 'k', secret: 's', shortCode: '174379', passKey: 'p' }
  const api = await startPayApi({ daraja, priceOf, orderOf, sms, newCode, ...more })
  return {
    url: api.url,
    prompts: double.prompts,
    close: async () => {
      await api.close()
      await double.close()
    },
  }
}
