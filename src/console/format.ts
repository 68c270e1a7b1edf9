/** `1:07`, `1:02:07` or `0:00`. */
export function clockOf(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000))
  const s = String(total % 60).padStart(2, '0')
  const minutes = Math.floor(total / 60)
  if (minutes < 60) return `${minutes}:${s}`
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${s}`
}

/** Position in a call, such as `0:03.2`. */
export function placeOf(ms: number): string {
  const tenths = Math.floor((Math.max(0, ms) % 1000) / 100)
  return `${clockOf(ms)}.${tenths}`
}

/** Duration such as `640 ms` or `2.31 s`; a dash if unknown. */
export function tookOf(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–'
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`
}

const DAY = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' })
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })

/** Calendar time. If it is today, the date is left out. */
export function whenOf(iso: string): string {
  const date = new Date(iso)
  if (Number.isNaN(date.getTime())) return iso
  return date.toDateString() === new Date().toDateString() ? TIME.format(date) : DAY.format(date)
}

const BUCKET_TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const BUCKET_DAY = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' })

/**
 * Start of a chart's bucket as text, by the browser's clock.
 * @param from  start of the first bucket, ISO 8601
 */
export function bucketOf(from: string, bucketHours: number, at: number, isShort = false): string {
  const hourMs = 3_600_000
  const begin = Date.parse(from) + at * bucketHours * hourMs
  // The date is taken from the middle of the day, because after a clock change (summer time) a day starts an hour
  // before or after midnight.
  const day = BUCKET_DAY.format(begin + (bucketHours / 2) * hourMs)
  if (isShort) return bucketHours === 1 ? BUCKET_TIME.format(begin) : day
  return bucketHours === 24 ? day : `${BUCKET_DAY.format(begin)}, ${BUCKET_TIME.format(begin)}`
}

/**
 * End of a chart of 1, 7 or 30 days, ISO 8601. `back` is the number of charts between this chart and the current chart.
 * Charts of more than a day end at midnight by the browser's clock. Even at a clock change, each hour is in exactly one
 * of the charts of a day.
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
