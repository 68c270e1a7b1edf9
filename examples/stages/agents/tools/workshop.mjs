/** Devices by the number on their back. Replace this table with a request to your own system. */
const MODELS = { 4127: 'blender', 2968: 'rice cooker' }

export const findDevice = {
  name: 'find_device',
  description: 'Finds a device by the number on its back. It fails where nobody knows the number.',
  parameters: {
    properties: { number: { type: 'string', pattern: '^\\d{4}$', description: 'The four digits.' } },
    required: ['number'],
  },
  idempotent: true,
  sample: { number: '4127' },
  run: ({ number }) => {
    const model = MODELS[number]
    if (model === undefined) throw new Error('no such device')
    return { model }
  },
}

export const bookRepair = {
  name: 'book_repair',
  description: 'Books the repair of the device that find_device has found.',
  run: () => ({ day: 'Tuesday' }),
}
