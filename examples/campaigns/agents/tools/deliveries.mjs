export const noteDelivery = {
  name: 'note_delivery',
  description: 'Notes whether the person is at home for their delivery.',
  parameters: { properties: { atHome: { type: 'boolean' } }, required: ['atHome'] },
  sample: { atHome: true },
  // Your system finds the delivery by the `id` of the row, which is externalId in the record of the call.
  run: ({ atHome }) => ({ noted: true, atHome }),
}
