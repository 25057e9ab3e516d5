// Types that values have: never run, checked by `npm run typecheck`. What must not compile says so.
import type { Keyspace, Node } from 'kilovolt'
import * as v from 'valibot'
import * as z from 'zod'

/** Compiles only when both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_same: Same<A, B>): void {}

export async function schemas(node: Node): Promise<void> {
  const users = node.keyspace('users', { schema: z.object({ name: z.string(), age: z.coerce.number().default(0) }) })
  const user = await users.get('ada')
  same<typeof user, { name: string; age: number } | undefined>(true)
  await users.put('ada', { name: 'Ada' })
  await users.batch([{ type: 'put', key: 'ada', value: { name: 'Ada', age: '5' } }])
  // @ts-expect-error what the schema takes has a name
  await users.put('ada', { age: 5 })
  // @ts-expect-error keys are strings
  await users.get(5)

  const days = node.keyspace('days', {
    schema: v.pipe(
      v.string(),
      v.transform(text => new Date(text))
    ),
    valueEncoding: 'structured'
  })
  const day = await days.get('a')
  same<typeof day, Date | undefined>(true)
  await days.put('a', '2026-01-01')
  // @ts-expect-error a date is what it makes, not what it takes
  await days.put('a', new Date(0))
  // @ts-expect-error no schema
  node.keyspace('wrong', { schema: { parse: String } })
}

export async function encodings(node: Node): Promise<void> {
  const plain = node.keyspace<{ user: string }>('sessions', { consistency: 'one', compression: 'zstd' })
  same<typeof plain, Keyspace<{ user: string }>>(true)
  // @ts-expect-error another type
  await plain.put('a', 5)
  node.keyspace<Date>('dates', {
    valueEncoding: { encode: date => Buffer.from(date.toISOString()), decode: bytes => new Date(bytes.toString()) }
  })
  node.keyspace<Date, number>('dates', {
    keyEncoding: { format: 'utf8', encode: String, decode: Number },
    valueEncoding: { format: 'utf8', encode: date => date.toISOString(), decode: (text: string) => new Date(text) }
  })
  // @ts-expect-error values only may be structured
  node.keyspace('wrong', { keyEncoding: 'structured' })
  // @ts-expect-error there is no such encoding
  node.keyspace('wrong', { valueEncoding: 'xml' })
  // @ts-expect-error nor such a compression
  node.keyspace('wrong', { compression: 'gzip' })
}
