// Keys in order over three nodes: ranges, pages, and a scan that goes on after its node is gone.
import { createNode } from 'kilovolt'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
const third = await createNode({ bootstrap: first.addresses })
await first.settled() // every value has its three copies from here on

interface Reading {
  celsius: number
}
const readings = first.keyspace<Reading>('readings')
await readings.batch(
  Array.from({ length: 300 }, (_, i) => ({
    type: 'put' as const,
    key: `sensor-${i % 3}:${String(i).padStart(4, '0')}`,
    value: { celsius: 20 + (i % 7) }
  }))
)

for await (const [key, { celsius }] of readings.entries({ prefix: 'sensor-1:', limit: 2 })) console.log(key, celsius)

console.log('newest', await readings.keys({ prefix: 'sensor-2:', reverse: true, limit: 1 }).all())
console.log('count', await readings.count({ prefix: 'sensor-0:' }))

// Page by page: one promise for many entries.
let warm = 0
for await (const page of readings.values().pages()) warm += page.filter(({ celsius }) => celsius > 25).length
console.log('warm', warm)

// A token names the last key and nothing else: another node goes on from there.
const scan = readings.keys()
let seen = 0
for await (const _key of scan) if (++seen === 100) break
await first.stop()
const rest = await second.keyspace<Reading>('readings').keys({ after: scan.token }).all()
console.log('before', seen, 'after', rest.length, 'from', rest[0])

console.log('cleared', await third.keyspace('readings').clear({ prefix: 'sensor-0:' }))
console.log('left', await second.keyspace('readings').count())

await Promise.all([second.stop(), third.stop()])
