/** `1:07`, `1:02:07` or `0:00`. */
export function clockOf(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000))
  const s = String(total % 60).padStart(2, '0')
  const minutes = Math.floor(total / 60)
  if (minutes < 60) return `${minutes}:${s}`
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${s}`
}

/** `0:03.2`, for places in a call. */
export function placeOf(ms: number): string {
  const tenths = Math.floor((Math.max(0, ms) % 1000) / 100)
  return `${clockOf(ms)}.${tenths}`
}

/** `640 ms`, `2.31 s` or a dash. */
export function tookOf(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–'
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`
}

const DAY = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' })
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })

/** A calendar time; of today without its date. */
export function whenOf(iso: string): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return iso
  return date.toDateString() === new Date().toDateString() ? TIME.format(date) : DAY.format(date)
}

const BUCKET_TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const BUCKET_DAY = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' })

/** When a bucket of a chart begins, on the browser's clock. @param from  when the first one does, ISO 8601 */
export function bucketOf(from: string, bucketHours: number, at: number, isShort = false): string {
  const hourMs = 3_600_000
  const begin = Date.parse(from) + at * bucketHours * hourMs
  // Beyond a change of the clock a day begins an hour beside midnight, and its middle is in it all the same.
  const day = BUCKET_DAY.format(begin + (bucketHours / 2) * hourMs)
  if (isShort) return bucketHours === 1 ? BUCKET_TIME.format(begin) : day
  return bucketHours === 24 ? day : `${BUCKET_DAY.format(begin)}, ${BUCKET_TIME.format(begin)}`
}

/**
 * When a chart of 1, 7 or 30 days ends, `back` charts before the one that ends now, ISO 8601. Longer ones than a day end at
 * midnight of the browser's clock; no hour is left out of two charts of a day, or is in both, where that changes.
 */
export function chartEnd(days: number, back: number, nowMs: number): string {
  const end = new Date(nowMs)
  if (days === 1) end.setTime(nowMs - back * 24 * 3_600_000)
  else end.setHours(24 * (1 - back * days), 0, 0, 0)
  return end.toISOString()
}

export function medianOf(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null
}

export function moneyOf(amount: number, currency: string): string {
  try {
    return new Intl.NumberFormat(undefined, { style: 'currency', currency, maximumFractionDigits: 4 }).format(amount)
  } catch {
    return `${amount.toFixed(4)} ${currency}` // a currency that the browser does not know
  }
}
