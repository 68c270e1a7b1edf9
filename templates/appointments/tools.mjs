/**
 * Free times from Sunday on, and the bookings. Replace both with requests to your own calendar: here each gateway has its
 * own bookings, stores only the newest BOOKINGS_MAX, and loses them at a restart.
 */
const WEEK = [[], ['09:00', '14:00'], ['10:00', '16:00'], [], ['08:00', '11:00'], ['10:00', '14:30', '16:00'], []]
const booked = new Set()
const BOOKINGS_MAX = 1000
/** Another person books this time during your call, so that you can hear how the agent reacts. */
const GOES_MEANWHILE = '5 14:30'

const date = { type: 'string', format: 'date', description: 'The day, as 2026-11-27 or in the words of the caller.' }
const weekday = (day) => new Date(day).getUTCDay()
const free = (day) => WEEK[weekday(day)].filter((time) => !booked.has(`${day} ${time}`))

export const freeTimes = {
  name: 'free_times',
  description: 'The free times of a day. Without any, the day is full.',
  parameters: { properties: { date }, required: ['date'] },
  // The tool only reads, so it may run again.
  idempotent: true,
  sample: { date: '2026-11-27' },
  run: ({ date: day }) => {
    const [first = null, second = first] = free(day)
    return { first, second }
  },
}

export const bookSlot = {
  name: 'book_slot',
  description: 'Books a time that free_times returned. {"booked": false}: it has gone; first and second are free instead.',
  parameters: {
    properties: {
      date,
      time: { type: 'string', pattern: '^\\d\\d:\\d\\d$', description: 'Such as 14:30, or in the words of the caller.' },
      name: { type: 'string', maxLength: 100, description: 'Whom it is for.' },
    },
    required: ['date', 'time', 'name'],
  },
  sample: { date: '2026-11-27', time: '10:00', name: 'Dry run' },
  run: ({ date: day, time }) => {
    const open = free(day)
    if (open.includes(time)) {
      if (booked.size >= BOOKINGS_MAX) booked.delete(booked.values().next().value)
      booked.add(`${day} ${time}`)
    }
    if (open.includes(time) && `${weekday(day)} ${time}` !== GOES_MEANWHILE) return { booked: true }
    const [first = null, second = first] = free(day)
    return { booked: false, first, second }
  },
}

export const confirmVisit = {
  name: 'confirm_visit',
  description: 'Notes whether the person whom you have called comes to their appointment.',
  parameters: { properties: { coming: { type: 'boolean' } }, required: ['coming'] },
  sample: { coming: true },
  // Your calendar finds the appointment by the `id` of the row, which is externalId in the record of the call.
  run: ({ coming }) => ({ noted: true, coming }),
}
