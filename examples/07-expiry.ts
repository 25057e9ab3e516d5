// Values that end by themselves, and writes that depend on what is there.
import { setTimeout as pause } from 'node:timers/promises'
import { createNode } from 'kilovolt'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
await first.settled()

interface Session {
  readonly user: string
}
const options = { ttl: 1500 }
const here = first.keyspace<Session>('sessions', options)
const there = second.keyspace<Session>('sessions', options)

await here.put('s1', { user: 'ada' })
await here.put('s2', { user: 'grace' }, { ttl: Infinity })
console.log('at once  ', await there.getMany(['s1', 's2']))

await pause(800)
console.log('touched  ', await there.touch('s1')) // it lives for as long again
await pause(1000)
console.log('still    ', await here.get('s1'))
await pause(1000)
console.log('later    ', await there.getMany(['s1', 's2']))

// One of many calls makes the value; the others find it.
const names = first.keyspace<string>('names', { ttl: 60_000 })
const told = await Promise.all(['a', 'b', 'c'].map(process => names.putIfAbsent('leader', process)))
console.log('was first', told.filter(Boolean).length)

// Calls of one node take turns: none of them is lost.
const hits = first.keyspace<number>('hits')
await Promise.all(Array.from({ length: 100 }, () => hits.update('home', (count = 0) => count + 1)))
console.log('hits     ', await second.keyspace<number>('hits').get('home'))

await second.stop()
await first.stop()
