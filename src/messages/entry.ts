import { z } from 'zod'

/** A message on its way to one receiver, as it is kept: on the disk, or in the fleet's store. */
export const entrySchema = z.object({
  version: z.literal(1),
  id: z.string(),
  /** Its name; of a number `<number>/<name>`. */
  receiver: z.string(),
  /** An agent's own webhook; null: the URL of the receiver. */
  url: z.string().nullable(),
  type: z.string(),
  callSid: z.string(),
  /** Order of the messages of a call. */
  order: z.number(),
  /** The media type of the body; absent in what earlier builds wrote. */
  contentType: z.string().default('application/cloudevents+json'),
  body: z.string(),
})
export type Entry = z.output<typeof entrySchema>
