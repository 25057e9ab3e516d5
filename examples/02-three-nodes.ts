// Three nodes in one process: write on one, read on another, stop one without a word, read again.
import { createNode } from 'kilovolt'

const first = await createNode()
const second = await createNode({ bootstrap: first.addresses })
const third = await createNode({ bootstrap: first.addresses })

await first.settled() // every value has its three copies from here on
await first.put('greeting', 'hello')
console.log('read on the second:', await second.get('greeting'))

await first.stop()
console.log('read after the first is gone:', await third.get('greeting'))

await Promise.all([second.stop(), third.stop()])
