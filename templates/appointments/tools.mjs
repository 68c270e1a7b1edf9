/** Free times by weekday. Replace this table by a request to your own calendar. */
const FREE = {
  monday: ['9 AM', '2 PM'],
  tuesday: ['10 AM', '4 PM'],
  wednesday: [],
  thursday: ['8 AM', '11 AM'],
  friday: ['9 AM', '1 PM'],
}

const day = { type: 'string', enum: Object.keys(FREE), description: 'The weekday.' }

export const freeTimes = {
  name: 'free_times',
  description: 'The free times of a weekday. Without any, the day is full.',
  parameters: { properties: { day }, required: ['day'] },
  // It only reads: it may be tried again.
  idempotent: true,
  sample: { day: 'monday' },
  run: ({ day }) => {
    const [first = null, second = null] = FREE[day]
    return { first, second }
  },
}

export const bookAppointment = {
  name: 'book_appointment',
  description: 'Books a time that free_times returned and the caller has confirmed.',
  parameters: {
    properties: { day, time: { type: 'string', maxLength: 20, description: 'Such as 9 AM.' } },
    required: ['day', 'time'],
  },
  sample: { day: 'monday', time: '9 AM' },
  run: ({ day, time }) => {
    if (!FREE[day].includes(time)) throw new Error('that time is not free')
    return { booked: true }
  },
}
