# End-to-end tests drive the installed binary: one ctest entry for each file, so that a failure has a name.
set(PROVISION_PYTHON python3 CACHE STRING "python with pytest, huggingface_hub and modelscope")
file(GLOB e2e_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/e2e/test_*.py)
foreach(file ${e2e_files})
  get_filename_component(name ${file} NAME_WE)
  string(REPLACE "test_" "e2e/" test ${name})
  add_test(NAME ${test} COMMAND ${PROVISION_PYTHON} -m pytest -q -p no:cacheprovider ${file})
  set_tests_properties(${test} PROPERTIES TIMEOUT 900 ENVIRONMENT
    "PROVISION=${CMAKE_INSTALL_PREFIX}/bin/provision;PROVISION_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1;ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1;UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1")
  if(name MATCHES "docker|story|kill|image")
    set_tests_properties(${test} PROPERTIES RESOURCE_LOCK engine)
  endif()
endforeach()
