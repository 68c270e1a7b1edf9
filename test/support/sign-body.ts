import { createHmac } from 'node:crypto'

/**
 * Signs a body as the carrier does.
 * @param timestampS calendar seconds for the `t=…,v1=…` form, null for the bare form.
 * @returns the header's value.
 */
export function signBody({
  body,
  secret,
  timestampS,
}: {
  readonly body: Uint8Array
  readonly secret: string
  readonly timestampS: number | null
}): string {
  const hmac = createHmac('sha256', secret).update(body)
  if (timestampS === null) return hmac.digest('hex')
  const t = Math.floor(timestampS)
  return `t=${t},v1=${hmac.update(`.${t}`).digest('hex')}`
}
