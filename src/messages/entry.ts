import { z } from 'zod'

/** Message for one receiver, as it is stored on the disk or in the fleet's store. */
export const entrySchema = z.object({
  version: z.literal(1),
  id: z.string(),
  /** Name of the receiver; `<number>/<name>` for a receiver of a number. */
  receiver: z.string(),
  /** URL of an agent's own webhook; null to use the URL of the receiver. */
  url: z.string().nullable(),
  type: z.string(),
  callSid: z.string(),
  /** Position in the order of a call's messages. */
  order: z.number(),
  /** Media type of the body; absent in entries of earlier builds. */
  contentType: z.string().default('application/cloudevents+json'),
  body: z.string(),
})
export type Entry = z.output<typeof entrySchema>
