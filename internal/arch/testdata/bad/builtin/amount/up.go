package amount

import _ "github.com/musterhq/muster/policies" // want "must not import github.com/musterhq/muster/policies: amounts"
