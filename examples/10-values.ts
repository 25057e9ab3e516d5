// Values of all kinds: structured ones, validated ones, compressed ones. What one node writes, any other reads.
import * as z from 'zod'
import { createNode, isKilovoltError } from 'kilovolt'

const node = await createNode()

// Dates, maps, sets, typed arrays, big integers: what JSON loses.
const trips = node.keyspace<{ at: Date; seats: Map<string, Set<number>>; miles: bigint }>('trips', {
  valueEncoding: 'structured'
})
await trips.put('t1', { at: new Date(0), seats: new Map([['ada', new Set([12, 14])]]), miles: 2n ** 70n })
const trip = await trips.get('t1')
console.log('date    ', trip?.at.toISOString())
console.log('seats   ', trip?.seats.get('ada'))

// A schema of any library that knows Standard Schema: its types are the keyspace's.
const users = node.keyspace('users', { schema: z.object({ name: z.string().min(1), visits: z.number().default(0) }) })
await users.put('ada', { name: 'Ada' })
console.log('user    ', await users.get('ada'))
try {
  await users.put('nobody', { name: '' })
} catch (error) {
  if (!isKilovoltError(error, 'KV_INVALID_VALUE')) throw error
  console.log('refused ', error.message)
}

// Values of more than 512 bytes are compressed, and whoever reads them need not know.
const pages = node.keyspace<string[]>('pages', { compression: 'zstd' })
await pages.put('home', Array<string>(10_000).fill('hello'))
console.log('page    ', (await node.keyspace<string[]>('pages').get('home'))?.length)

await node.stop()
