// A copy of a keyspace in memory, kept up to date by watching; its node's neighbour dies, and it goes on.
import { createNode, type Watch } from 'kilovolt'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
const third = await createNode({ bootstrap: first.addresses })
await first.settled()

const copy = new Map<string, number>()

async function follow(changes: Watch<number>, done: () => boolean): Promise<void> {
  for await (const event of changes) {
    if (event.type === 'put') copy.set(event.key, event.value)
    else if (event.type === 'reset')
      copy.clear() // and read what is needed again
    else copy.delete(event.key)
    console.log(event.type.padEnd(6), event.type === 'reset' ? '' : event.key, [...copy.values()])
    if (done()) break
  }
}

const changes = second.keyspace<number>('stock').watch({ prefix: 'shelf-1:' })
await changes.ready

const stock = third.keyspace<number>('stock')
await stock.put('shelf-1:apples', 3)
await stock.put('shelf-1:pears', 5)
await stock.put('shelf-2:plums', 7) // not watched
await stock.delete('shelf-1:pears')
await follow(changes, () => copy.size === 1 && copy.has('shelf-1:apples'))
const { token } = changes
console.log('copy  ', Object.fromEntries(copy))

await first.stop() // without a word
await stock.put('shelf-1:apples', 2)

// On another node, where the one before has ended.
await follow(stock.watch({ prefix: 'shelf-1:', since: token }), () => copy.get('shelf-1:apples') === 2)
console.log('copy  ', Object.fromEntries(copy))

await Promise.all([second.stop(), third.stop()])
